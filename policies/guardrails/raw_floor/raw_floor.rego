# METADATA
# title: The floor under raw data
# description: |
#   Whatever the tables list: raw data is for attested sessions, and outside the development posture for machines that
#   hardware vouches for, that were appraised as affirming, and that nobody can debug. No data takes part in this rule.
# custom:
#   code: attestation.floor
#   severity: critical
package demesne.guardrails.raw_floor

import data.demesne.access.view

deny contains reason if {
	view.view == "raw"
	not stands
	reason := {
		"rule": "guardrails/raw_floor",
		"code": "attestation.floor",
		"message": "Raw data is for attested sessions, and outside development for affirmed hardware only",
		"remedy": "run the job in a confidential machine the doctrine trusts, and attest it",
	}
}

stands if {
	input.zone.posture == "development"
	input.session.kind == "attested"
}

stands if {
	input.session.kind == "attested"
	input.session.tier == "affirming"
	input.session.claims.kind != "sample"
	input.session.claims.hardware == true
	input.session.claims.synthetic_only == false
	input.session.claims.debug == false
}
