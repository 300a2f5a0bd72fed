package demesne.access.no_role_test

import data.demesne.access.no_role
import data.demesne.fixtures

test_refuses_an_analyst_who_writes if {
	codes := {reason.code | some reason in no_role.deny} with input as object.union(fixtures.analyst_reads, {"request": {"action": "write"}})
	codes == {"access.none"}
}

test_refuses_a_role_outside_its_purpose_class if {
	codes := {reason.code | some reason in no_role.deny} with input as object.union(fixtures.steward_writes, {"purpose": "analytics"})
	codes == {"access.none"}
}

test_refuses_no_role_at_all if {
	codes := {reason.code | some reason in no_role.deny} with input as object.union(fixtures.analyst_reads, {"principal": {"roles": []}})
	codes == {"access.none"}
}

test_permits_a_steward_who_writes if {
	codes := {reason.code | some reason in no_role.deny} with input as fixtures.steward_writes
	codes == set()
}
