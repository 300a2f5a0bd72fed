package demesne.evidence_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

test_an_appraisal_has_three_fields if {
	answer := evidence.appraisal with input as evidence_fixtures.snp
	object.keys(answer) == {"tier", "submods", "reasons"}
}
