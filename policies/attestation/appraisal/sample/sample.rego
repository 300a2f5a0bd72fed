# METADATA
# title: What sample evidence is worth
# description: |
#   Nothing about any machine: a warning at most, only in the development posture and only when everything in
#   scope is synthetic. No table of the data can say otherwise.
# custom:
#   code: attestation.sample-evidence
#   severity: critical
package demesne.attestation.appraisal.sample

import data.demesne.attestation.appraisal.submodules
import data.demesne.attestation.appraisal.synthetic

doubts contains doubt("warning", "attestation.sample-evidence", "Sample evidence proves nothing about any machine", "run the job in a confidential machine before it reads real data") if {
	submodules.sample
}

doubts contains doubt("contraindicated", "attestation.sample-posture", "Sample evidence is accepted in the development posture only", "run the job in a confidential machine") if {
	submodules.sample
	not development
}

doubts contains doubt("contraindicated", "attestation.sample-scope", "Sample evidence is accepted only when every dataset in scope is flagged synthetic, and at least one is named", "name synthetic datasets in scope, or run the job in a confidential machine") if {
	submodules.sample
	not synthetic.scope_synthetic
}

development if input.posture == "development"

doubt(tier, code, message, remedy) := {
	"submod": "cpu0",
	"claim": "instance-identity",
	"tier": tier,
	"rule": "attestation/appraisal/sample",
	"code": code,
	"message": message,
	"remedy": remedy,
}
