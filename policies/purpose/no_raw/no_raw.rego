# METADATA
# title: Only purposes of a raw class open raw data
# description: |
#   An attested machine is not enough: the purpose must be one for which masked rows would not do.
# custom:
#   code: purpose.no-raw
#   severity: high
package demesne.purpose.no_raw

import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	view.view == "raw"
	not facts.sees == "raw"
	reason := {
		"rule": "purpose/no_raw",
		"code": "purpose.no-raw",
		"message": concat("", ["The purpose ", input.purpose, " is not one that opens raw data"]),
		"remedy": "read the masked view without a session, or attest for a training purpose",
	}
}
