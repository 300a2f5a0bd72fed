# METADATA
# title: The machine was appraised well enough
# description: |
#   data/attestation lists the AR4SI tiers that open raw data, by posture.
# custom:
#   code: attestation.tier
#   severity: critical
package demesne.attestation.tier

import data.data.attestation
import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	view.view == "raw"
	facts.attested
	not enough
	reason := {
		"rule": "attestation/tier",
		"code": "attestation.tier",
		"message": "The machine's evidence was not appraised well enough for raw data",
		"remedy": "run the job in a confidential machine the doctrine trusts",
	}
}

enough if input.session.tier in attestation.raw_tiers[input.zone.posture]
