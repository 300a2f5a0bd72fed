# METADATA
# title: A result carries the label of what it was made from
# description: |
#   What a run wrote after reading personal data is personal. Where its format cannot be masked it is
#   refused until a named declassification.
# custom:
#   code: label.inherited
#   severity: critical
package demesne.masking.inherited

import data.demesne.access.view
import data.demesne.masking.format

deny contains reason if {
	view.view == "masked"
	made_by_run
	not format.maskable
	reason := {
		"rule": "masking/inherited",
		"code": "label.inherited",
		"message": "This object carries the label of the personal data it was made from, and its format cannot be masked",
		"remedy": "ask the steward for a named declassification: POST /v1/declassifications",
	}
}

made_by_run if {
	is_string(input.object.run)
	input.object.run != ""
}
