package demesne.residency.unproven_test

import data.demesne.fixtures
import data.demesne.residency.unproven

test_refuses_a_zone_nobody_saw if {
	codes := {reason.code | some reason in unproven.deny} with input as object.union(fixtures.trainer_reads, {"zone": {"strength": "none"}})
	codes == {"residency.unproven"}
}

test_permits_a_zone_that_was_seen if {
	codes := {reason.code | some reason in unproven.deny} with input as fixtures.trainer_reads
	codes == set()
}

test_leaves_a_closed_zone_to_the_rule_of_closed_zones if {
	closed := {"zone": {"state": "closed", "strength": "none"}}
	codes := {reason.code | some reason in unproven.deny} with input as object.union(fixtures.trainer_reads, closed)
	codes == set()
}
