# METADATA
# title: Raw data only for attested sessions
# description: |
#   Purposes that see raw data, callers that insist on it, and everyone who writes without being a
#   steward must attest first.
# custom:
#   code: attestation.required
#   severity: critical
package demesne.attestation.required

import data.demesne.access.role
import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	needed
	not facts.attested
	reason := {
		"rule": "attestation/required",
		"code": "attestation.required",
		"message": "Raw data and training writes need an attested session",
		"remedy": "attest first: demesne.attest(endpoint, purpose=…), then use the credentials of the session",
	}
}

needed if view.view == "raw"

needed if {
	input.request.require_view == "raw"
	view.view in {"masked", "writer"}
}

needed if {
	count(role.permit) > 0
	facts.writing
	facts.sees != "writer"
}

needed if {
	count(role.permit) > 0
	facts.action == "delete"
	facts.sees != "writer"
}
