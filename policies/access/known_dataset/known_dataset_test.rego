package demesne.access.known_dataset_test

import data.demesne.access.known_dataset
import data.demesne.fixtures

test_refuses_an_unknown_dataset if {
	codes := {reason.code | some reason in known_dataset.deny} with input as object.union(fixtures.analyst_reads, {"dataset": null})
	codes == {"access.unknown-dataset"}
}

test_refuses_a_write_into_nothing if {
	codes := {reason.code | some reason in known_dataset.deny} with input as object.union(fixtures.steward_writes, {"dataset": null})
	codes == {"access.unknown-dataset"}
}

test_permits_listing_datasets_without_one if {
	codes := {reason.code | some reason in known_dataset.deny} with input as object.union(fixtures.analyst_reads, {"dataset": null, "request": {"action": "list-datasets"}})
	codes == set()
}

test_permits_a_known_dataset if {
	codes := {reason.code | some reason in known_dataset.deny} with input as fixtures.analyst_reads
	codes == set()
}
