package demesne.guardrails.never_masked_when_attested_test

import data.demesne.fixtures
import data.demesne.guardrails.never_masked_when_attested

test_refuses_masked_for_an_attested_session if {
	codes := {reason.code | some reason in never_masked_when_attested.deny} with input as fixtures.trainer_reads with data.demesne.access.view.view as "masked"
	codes == {"attestation.never-masked"}
}

test_permits_raw_for_it if {
	codes := {reason.code | some reason in never_masked_when_attested.deny} with input as fixtures.trainer_reads
	codes == set()
}
