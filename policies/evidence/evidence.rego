# METADATA
# title: The appraisal
# description: |
#   The entry point for verified claims. A package of its own: the engine that decides requests loads what decisions
#   name, and this names the rules about evidence, which no decision does.
package demesne.evidence

# METADATA
# entrypoint: true
appraisal := {
	"tier": data.demesne.attestation.appraisal.tier,
	"submods": data.demesne.attestation.appraisal.submods,
	"reasons": doubts,
}

# A list of its own: regorus does not schedule a comprehension inside the value of a rule.
doubts := [reason | some reason in data.demesne.attestation.appraisal.reasons]
