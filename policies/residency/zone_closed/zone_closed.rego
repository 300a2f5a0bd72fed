# METADATA
# title: A closed zone moves no data
# description: |
#   When a store or key provider was seen outside the jurisdiction of the zone, nothing is read, written
#   or attested until it is back.
# custom:
#   code: residency.zone-closed
#   severity: critical
package demesne.residency.zone_closed

import data.demesne.facts

deny contains reason if {
	not facts.looks_only
	not zone_open
	reason := {
		"rule": "residency/zone_closed",
		"code": "residency.zone-closed",
		"message": concat("", ["Zone ", input.zone.name, " is closed: one of its stores or key providers is not where it must be"]),
		"remedy": "try again later; the operator sees which one on /readyz",
	}
}

zone_open if input.zone.state == "open"
