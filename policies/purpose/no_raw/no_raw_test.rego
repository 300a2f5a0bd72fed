package demesne.purpose.no_raw_test

import data.demesne.fixtures
import data.demesne.purpose.no_raw

test_refuses_marketing_in_an_attested_session if {
	codes := {reason.code | some reason in no_raw.deny} with input as object.union(fixtures.trainer_reads, {"purpose": "marketing"})
	codes == {"purpose.no-raw"}
}

test_permits_training if {
	codes := {reason.code | some reason in no_raw.deny} with input as fixtures.trainer_reads
	codes == set()
}
