# METADATA
# title: Sample evidence opens synthetic data only
# description: |
#   Evidence without hardware behind it proves nothing. It opens datasets flagged synthetic, in the
#   development posture, and nothing else.
# custom:
#   code: attestation.sample
#   severity: critical
package demesne.attestation.sample

import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	view.view == "raw"
	facts.attested
	not hardware
	not harmless
	reason := {
		"rule": "attestation/sample",
		"code": "attestation.sample",
		"message": "Sample evidence opens only datasets flagged synthetic, and only in the development posture",
		"remedy": "run the job in a confidential machine, or use a synthetic dataset",
	}
}

hardware if {
	input.session.claims.hardware == true
	input.session.claims.synthetic_only == false
}

harmless if {
	input.zone.posture == "development"
	input.dataset.synthetic == true
}
