package demesne.placement.run_test

import data.demesne.fixtures
import data.demesne.placement.run

test_refuses_another_zone if {
	codes := {reason.code | some reason in run.deny} with input as object.union(fixtures.trainer_writes, {"dataset": {"zone": "fr", "jurisdiction": "fr"}, "request": {"ref": {"zone": "fr"}}})
	codes == {"residency.placement"}
}

test_refuses_an_unknown_dataset_of_another_zone if {
	codes := {reason.code | some reason in run.deny} with input as object.union(fixtures.trainer_writes, {"dataset": null, "request": {"ref": {"zone": "fr"}}})
	codes == {"residency.placement"}
}

test_refuses_when_nowhere_is_left if {
	codes := {reason.code | some reason in run.deny} with input as object.union(fixtures.trainer_writes, {"run": {"placement": []}})
	codes == {"residency.placement"}
}

test_permits_the_zone_it_read_from if {
	codes := {reason.code | some reason in run.deny} with input as fixtures.trainer_writes
	codes == set()
}

test_permits_a_run_that_read_nothing if {
	codes := {reason.code | some reason in run.deny} with input as fixtures.steward_writes
	codes == set()
}
