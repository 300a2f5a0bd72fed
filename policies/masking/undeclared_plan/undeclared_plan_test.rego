package demesne.masking.undeclared_plan_test

import data.demesne.fixtures
import data.demesne.masking.undeclared_plan

test_refuses_a_class_without_a_table if {
	codes := {reason.code | some reason in undeclared_plan.deny} with input as fixtures.analyst_reads with data.data.masking.classes as {}
	codes == {"masking.undeclared-plan"}
}

test_permits_a_class_with_one if {
	codes := {reason.code | some reason in undeclared_plan.deny} with input as fixtures.analyst_reads
	codes == set()
}
