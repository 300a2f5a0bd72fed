package demesne.residency.zone_closed_test

import data.demesne.fixtures
import data.demesne.residency.zone_closed

test_refuses_reads if {
	codes := {reason.code | some reason in zone_closed.deny} with input as object.union(fixtures.analyst_reads, {"zone": {"state": "closed"}})
	codes == {"residency.zone-closed"}
}

test_refuses_writes if {
	codes := {reason.code | some reason in zone_closed.deny} with input as object.union(fixtures.steward_writes, {"zone": {"state": "closed"}})
	codes == {"residency.zone-closed"}
}

test_permits_looking_at_the_ledger if {
	codes := {reason.code | some reason in zone_closed.deny} with input as object.union(fixtures.steward_writes, {"zone": {"state": "closed"}, "request": {"action": "ledger"}})
	codes == set()
}

test_permits_an_open_zone if {
	codes := {reason.code | some reason in zone_closed.deny} with input as fixtures.analyst_reads
	codes == set()
}
