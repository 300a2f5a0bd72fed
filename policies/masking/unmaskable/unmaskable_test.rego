package demesne.masking.unmaskable_test

import data.demesne.fixtures
import data.demesne.masking.unmaskable

test_refuses_a_format_that_cannot_be_masked if {
	codes := {reason.code | some reason in unmaskable.deny} with input as object.union(fixtures.analyst_reads, {"object": {"format": "opaque"}})
	codes == {"masking.format"}
}

test_permits_csv if {
	codes := {reason.code | some reason in unmaskable.deny} with input as object.union(fixtures.analyst_reads, {"object": {"format": "csv"}})
	codes == set()
}

test_permits_what_is_not_there if {
	codes := {reason.code | some reason in unmaskable.deny} with input as object.union(fixtures.analyst_reads, {"object": null})
	codes == set()
}
