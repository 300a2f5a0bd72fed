# METADATA
# title: Raw data needs a zone that was seen
# description: |
#   Raw rows leave only while somebody has observed where the stores are, at least as strongly as
#   data/residency asks. A closed zone is refused by residency/zone_closed alone, so that the answer is to
#   try again later and not that this caller may not.
# custom:
#   code: residency.unproven
#   severity: high
package demesne.residency.unproven

import data.data.residency
import data.demesne.access.view

deny contains reason if {
	view.view == "raw"
	input.zone.state == "open"
	not seen
	reason := {
		"rule": "residency/unproven",
		"code": "residency.unproven",
		"message": concat("", ["Nobody has observed yet where the stores of zone ", input.zone.name, " are"]),
		"remedy": "try again in a minute; the operator sees the observations on /readyz",
	}
}

seen if input.zone.strength in residency.raw_strength[input.zone.posture]
