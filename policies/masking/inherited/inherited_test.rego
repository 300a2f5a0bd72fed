package demesne.masking.inherited_test

import data.demesne.fixtures
import data.demesne.masking.inherited

test_refuses_a_model if {
	codes := {reason.code | some reason in inherited.deny} with input as object.union(fixtures.analyst_reads, {"object": {"format": "opaque", "run": "n2"}})
	codes == {"label.inherited"}
}

test_refuses_a_table_without_named_columns if {
	codes := {reason.code | some reason in inherited.deny} with input as object.union(fixtures.analyst_reads, {"object": {"run": "n2"}, "dataset": {"contract": {"columns": []}}})
	codes == {"label.inherited"}
}

test_permits_it_declassified if {
	codes := {reason.code | some reason in inherited.deny} with input as fixtures.analyst_reads_declassified
	codes == set()
}

test_permits_a_parquet_file if {
	codes := {reason.code | some reason in inherited.deny} with input as object.union(fixtures.analyst_reads, {"object": {"run": "n2"}})
	codes == set()
}
