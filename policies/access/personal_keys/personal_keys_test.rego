package demesne.access.personal_keys_test

import data.demesne.access.personal_keys
import data.demesne.fixtures

test_refuses_to_list_personal_names if {
	codes := {reason.code | some reason in personal_keys.deny} with input as object.union(fixtures.analyst_reads, {"request": {"action": "list"}, "object": null, "dataset": {"contract": {"keys_personal": true}}})
	codes == {"access.keys-personal"}
}

test_refuses_when_the_contract_does_not_say if {
	codes := {reason.code | some reason in personal_keys.deny} with input as object.union(fixtures.analyst_reads, {"request": {"action": "list"}, "object": null, "dataset": {"contract": null}})
	codes == {"access.keys-personal"}
}

test_permits_to_list_plain_names if {
	codes := {reason.code | some reason in personal_keys.deny} with input as object.union(fixtures.analyst_reads, {"request": {"action": "list"}, "object": null})
	codes == set()
}
