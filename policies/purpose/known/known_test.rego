package demesne.purpose.known_test

import data.demesne.fixtures
import data.demesne.purpose.known

test_refuses_an_unknown_purpose if {
	codes := {reason.code | some reason in known.deny} with input as object.union(fixtures.analyst_reads, {"purpose": "curiosity"})
	codes == {"purpose.unknown"}
}

test_permits_a_known_one if {
	codes := {reason.code | some reason in known.deny} with input as fixtures.analyst_reads
	codes == set()
}
