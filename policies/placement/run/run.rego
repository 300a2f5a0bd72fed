# METADATA
# title: What a run writes stays where what it read must stay
# description: |
#   A run's output may lie only in zones in which everything the run read may lie.
# custom:
#   code: residency.placement
#   severity: critical
package demesne.placement.run

import data.demesne.facts

deny contains reason if {
	facts.writing
	not may_lie_there
	reason := {
		"rule": "placement/run",
		"code": "residency.placement",
		"message": concat("", ["This run has read data that may not lie in zone ", facts.target_zone]),
		"remedy": "write to a dataset of the zone the data was read from",
	}
}

may_lie_there if input.run == null

may_lie_there if {
	is_string(input.run.id)
	input.run.placement == null
}

may_lie_there if facts.target_zone in input.run.placement
