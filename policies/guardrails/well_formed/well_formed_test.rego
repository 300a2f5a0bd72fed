package demesne.guardrails.well_formed_test

import data.demesne.fixtures
import data.demesne.guardrails.well_formed

test_refuses_another_schema if {
	codes := {reason.code | some reason in well_formed.deny} with input as object.union(fixtures.analyst_reads, {"schema": "demesne.input/2"})
	codes == {"input.malformed"}
}

test_refuses_an_unknown_field if {
	codes := {reason.code | some reason in well_formed.deny} with input as object.union(fixtures.analyst_reads, {"extra": 1})
	codes == {"input.malformed"}
}

test_refuses_a_nameless_principal if {
	codes := {reason.code | some reason in well_formed.deny} with input as object.union(fixtures.analyst_reads, {"principal": {"id": ""}})
	codes == {"input.malformed"}
}

test_permits_the_whole_document if {
	codes := {reason.code | some reason in well_formed.deny} with input as fixtures.analyst_reads
	codes == set()
}
