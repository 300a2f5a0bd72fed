# METADATA
# title: Stewardship is not reading
# description: |
#   Who registers, writes and lists data has no need to see it. Sizes and ETags of its own writes are
#   all it gets back.
# custom:
#   code: access.steward-reads
#   severity: high
package demesne.access.steward_reads

import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	facts.action == "read"
	view.view == "writer"
	reason := {
		"rule": "access/steward_reads",
		"code": "access.steward-reads",
		"message": "Stewardship does not include reading personal data",
		"remedy": "read as an analyst (masked) or in an attested session (raw)",
	}
}
