package demesne.residency.principal_test

import data.demesne.fixtures
import data.demesne.residency.principal

test_refuses_another_jurisdiction if {
	codes := {reason.code | some reason in principal.deny} with input as object.union(fixtures.analyst_reads, {"principal": {"jurisdiction": "us"}})
	codes == {"residency.principal"}
}

test_refuses_another_jurisdiction_a_session if {
	codes := {reason.code | some reason in principal.deny} with input as object.union(fixtures.trainer_reads, {"request": {"action": "session"}, "dataset": null, "principal": {"jurisdiction": "us"}})
	codes == {"residency.principal"}
}

test_refuses_another_jurisdiction_a_write if {
	codes := {reason.code | some reason in principal.deny} with input as object.union(fixtures.steward_writes, {"principal": {"jurisdiction": "fr"}})
	codes == {"residency.principal"}
}

test_permits_the_same_jurisdiction if {
	codes := {reason.code | some reason in principal.deny} with input as fixtures.analyst_reads
	codes == set()
}

test_permits_anyone_open_data if {
	codes := {reason.code | some reason in principal.deny} with input as object.union(fixtures.analyst_reads_open, {"principal": {"jurisdiction": "us"}})
	codes == set()
}
