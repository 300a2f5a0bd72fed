package demesne.residency.other_zone_test

import data.demesne.fixtures
import data.demesne.residency.other_zone

test_refuses_a_dataset_of_another_zone if {
	codes := {reason.code | some reason in other_zone.deny} with input as object.union(fixtures.analyst_reads, {"dataset": {"zone": "fr"}, "request": {"ref": {"zone": "fr"}}})
	codes == {"residency.other-zone"}
}

test_permits_a_dataset_of_this_zone if {
	codes := {reason.code | some reason in other_zone.deny} with input as fixtures.analyst_reads
	codes == set()
}
