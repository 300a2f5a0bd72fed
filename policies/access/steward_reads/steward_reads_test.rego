package demesne.access.steward_reads_test

import data.demesne.access.steward_reads
import data.demesne.fixtures

test_refuses_a_steward_who_reads if {
	codes := {reason.code | some reason in steward_reads.deny} with input as object.union(fixtures.steward_heads, {"request": {"action": "read"}})
	codes == {"access.steward-reads"}
}

test_permits_a_steward_who_looks if {
	codes := {reason.code | some reason in steward_reads.deny} with input as fixtures.steward_heads
	codes == set()
}
