# METADATA
# title: What evidence is worth
# description: |
#   AR4SI tiers over verified claims. Sample evidence is a warning at most, only in the development posture
#   and only when everything in scope is synthetic. A kind no rule speaks for is contraindicated.
# custom:
#   code: attestation.contraindicated
#   severity: critical
package demesne.attestation.appraisal

default tier := "contraindicated"

tier := "warning" if sample_may_be_used

sample_may_be_used if {
	sample
	development
	scope_synthetic
}

development if input.posture == "development"

sample if {
	input.claims.kind == "sample"
	input.claims.synthetic_only == true
}

scope_synthetic if {
	is_array(input.dataset_scope)
	input.dataset_scope != []
	every dataset in input.dataset_scope {
		dataset.synthetic == true
	}
}

reasons contains reason("attestation.no-rule", "No rule of the doctrine trusts this kind of evidence", "use a kind of evidence the doctrine appraises") if {
	not sample
}

reasons contains reason("attestation.sample-posture", "Sample evidence is accepted in the development posture only", "run the job in a confidential machine") if {
	sample
	not development
}

reasons contains reason("attestation.sample-scope", "Sample evidence is accepted only when every dataset in scope is flagged synthetic, and at least one is named", "name synthetic datasets in scope, or run the job in a confidential machine") if {
	sample
	not scope_synthetic
}

reason(code, message, remedy) := {
	"rule": "attestation/appraisal",
	"code": code,
	"message": message,
	"remedy": remedy,
}

# The AR4SI claims behind the tier.
status := {"hardware": "contraindicated", "executables": "none", "configuration": tier, "instance-identity": "none"}
