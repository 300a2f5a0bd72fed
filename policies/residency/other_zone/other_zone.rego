# METADATA
# title: Each zone serves its own datasets
# description: |
#   Data is never carried across zones: another zone's dataset is asked for at its own gateway.
# custom:
#   code: residency.other-zone
#   severity: high
package demesne.residency.other_zone

import data.demesne.facts

deny contains reason if {
	facts.touches_objects
	not facts.here
	reason := {
		"rule": "residency/other_zone",
		"code": "residency.other-zone",
		"message": concat("", ["The dataset lies in zone ", facts.target_zone, " and is not served from here"]),
		"remedy": "ask the gateway of that zone",
	}
}
