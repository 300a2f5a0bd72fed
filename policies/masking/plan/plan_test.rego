package demesne.masking.plan_test

import data.demesne.fixtures
import data.demesne.masking.plan

step(columns) := steps if {
	answer := plan.current with input as object.union(fixtures.analyst_reads, {"dataset": {"contract": {"columns": columns}}})
	steps := answer.columns
}

nulled(name) := {"name": name, "action": "null", "params": {}}

test_an_unlabelled_column_is_masked if {
	step([{"name": "x", "type": "string", "label": "unknown"}]) == [nulled("x")]
}

test_a_column_without_a_label_is_masked if {
	step([{"name": "x", "type": "string"}]) == [nulled("x")]
}

test_a_label_the_table_does_not_know_is_masked if {
	step([{"name": "x", "type": "string", "label": "pii.new"}]) == [nulled("x")]
}

test_only_none_is_kept if {
	every class in data.data.masking.classes {
		kept := {label | some label, rule in class; rule.action == "keep"}
		kept == {"none"}
	}
}

test_the_order_is_the_contracts if {
	steps := step([
		{"name": "b", "type": "int64", "label": "none"},
		{"name": "a", "type": "string", "label": "pii.note"},
	])
	[name | some s in steps; name := s.name] == ["b", "a"]
}
