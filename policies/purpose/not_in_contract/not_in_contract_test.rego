package demesne.purpose.not_in_contract_test

import data.demesne.fixtures
import data.demesne.purpose.not_in_contract

test_refuses_what_the_contract_does_not_list if {
	codes := {reason.code | some reason in not_in_contract.deny} with input as object.union(fixtures.analyst_reads, {"purpose": "marketing"})
	codes == {"purpose.not-in-contract"}
}

test_refuses_a_dataset_without_a_contract if {
	codes := {reason.code | some reason in not_in_contract.deny} with input as object.union(fixtures.trainer_reads, {"dataset": {"contract": null}})
	codes == {"purpose.not-in-contract"}
}

test_refuses_a_training_write if {
	codes := {reason.code | some reason in not_in_contract.deny} with input as object.union(fixtures.trainer_writes, {"dataset": {"contract": {"purposes": ["analytics"]}}})
	codes == {"purpose.not-in-contract"}
}

test_permits_what_the_contract_lists if {
	codes := {reason.code | some reason in not_in_contract.deny} with input as fixtures.trainer_reads
	codes == set()
}

test_permits_a_steward_before_there_is_a_contract if {
	codes := {reason.code | some reason in not_in_contract.deny} with input as object.union(fixtures.steward_writes, {"dataset": {"contract": null}})
	codes == set()
}
