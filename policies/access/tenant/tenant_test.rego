package demesne.access.tenant_test

import data.demesne.access.tenant
import data.demesne.fixtures

test_refuses_another_tenant if {
	codes := {reason.code | some reason in tenant.deny} with input as object.union(fixtures.analyst_reads, {"request": {"ref": {"tenant": "other"}}})
	codes == {"access.tenant"}
}

test_permits_the_own_tenant if {
	codes := {reason.code | some reason in tenant.deny} with input as fixtures.analyst_reads
	codes == set()
}
