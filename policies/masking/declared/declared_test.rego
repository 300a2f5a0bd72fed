package demesne.masking.declared_test

import data.demesne.fixtures
import data.demesne.masking.declared
import data.demesne.masking.plan

# What was built must be what is asked for: the same columns, class by class.
test_declared_is_what_a_read_asks_for if {
	plans := declared.plans with input as {"dataset": fixtures.analyst_reads.dataset}
	asked := plan.current with input as fixtures.analyst_reads
	plans == [{"purpose_class": "analytics", "columns": asked.columns}]
}

test_no_columns_no_plan if {
	plans := declared.plans with input as {"dataset": {"contract": {"columns": []}}}
	plans == []
}

test_no_contract_no_plan if {
	plans := declared.plans with input as {"dataset": {"contract": null}}
	plans == []
}
