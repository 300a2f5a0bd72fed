package demesne.guardrails.known_action_test

import data.demesne.fixtures
import data.demesne.guardrails.known_action

test_refuses_an_unknown_action if {
	codes := {reason.code | some reason in known_action.deny} with input as object.union(fixtures.analyst_reads, {"request": {"action": "copy"}})
	codes == {"input.unknown-action"}
}

test_permits_a_known_action if {
	codes := {reason.code | some reason in known_action.deny} with input as fixtures.analyst_reads
	codes == set()
}
