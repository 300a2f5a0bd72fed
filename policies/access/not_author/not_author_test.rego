package demesne.access.not_author_test

import data.demesne.access.not_author
import data.demesne.fixtures

test_refuses_the_facts_of_a_foreign_version if {
	codes := {reason.code | some reason in not_author.deny} with input as object.union(fixtures.steward_heads, {"object": {"written_by": "t1"}})
	codes == {"access.not-author"}
}

test_refuses_deleting_what_another_run_wrote if {
	codes := {reason.code | some reason in not_author.deny} with input as object.union(fixtures.trainer_writes, {"request": {"action": "delete"}, "object": {"written_by": "s1", "label": "personal"}})
	codes == {"access.not-author"}
}

test_refuses_writing_over_what_another_wrote if {
	every action in {"write", "complete"} {
		codes := {reason.code | some reason in not_author.deny} with input as object.union(fixtures.trainer_writes, {"request": {"action": action}, "object": {"written_by": "s1", "label": "personal"}})
		codes == {"access.not-author"}
	}
}

test_permits_writing_over_what_one_wrote_oneself if {
	codes := {reason.code | some reason in not_author.deny} with input as object.union(fixtures.trainer_writes, {"object": {"written_by": fixtures.trainer_writes.principal.id, "label": "personal"}})
	codes == set()
}

test_permits_the_facts_of_an_own_version if {
	codes := {reason.code | some reason in not_author.deny} with input as fixtures.steward_heads
	codes == set()
}

test_permits_a_head_of_what_is_not_there if {
	codes := {reason.code | some reason in not_author.deny} with input as object.union(fixtures.steward_heads, {"object": null})
	codes == set()
}

test_permits_a_steward_to_delete if {
	codes := {reason.code | some reason in not_author.deny} with input as object.union(fixtures.steward_heads, {"request": {"action": "delete"}, "object": {"written_by": "t1"}})
	codes == set()
}
