# METADATA
# title: A session opens the datasets it attested for
# description: |
#   The scope is part of what the evidence commits to.
# custom:
#   code: attestation.scope
#   severity: high
package demesne.attestation.scope

import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	view.view == "raw"
	facts.attested
	not facts.in_scope
	reason := {
		"rule": "attestation/scope",
		"code": "attestation.scope",
		"message": "The session was not attested for this dataset",
		"remedy": "attest with the dataset in scope",
	}
}
