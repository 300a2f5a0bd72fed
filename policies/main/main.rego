# METADATA
# title: The decision
# description: |
#   The entry points, with that of evidence. Closed by default: a request is permitted when
#   some role permits it and no rule speaks against it. Every refusing rule is named here, so that none can be
#   forgotten or slipped in.
package demesne.main

# METADATA
# entrypoint: true
default decision := {
	"allow": false,
	"view": "none",
	"purpose_class": "none",
	"plan": null,
	"label": "personal",
	"placement": null,
	"obligations": [],
	"reasons": [{
		"rule": "main",
		"code": "access.none",
		"message": "No rule permits this",
		"remedy": "ask the owner of the dataset",
	}],
	"allow_by": [],
}

decision := {
	"allow": true,
	"view": data.demesne.access.view.view,
	"purpose_class": data.demesne.facts.class,
	"plan": plan,
	"label": data.demesne.placement.output.label,
	"placement": data.demesne.placement.output.placement,
	"obligations": obligations,
	"reasons": [],
	"allow_by": permitted_by,
} if {
	count(refusals) == 0
	count(data.demesne.access.role.permit) > 0
}

decision := {
	"allow": false,
	"view": "none",
	"purpose_class": data.demesne.facts.class,
	"plan": null,
	"label": "personal",
	"placement": null,
	"obligations": [],
	"reasons": refused_for,
	"allow_by": [],
} if {
	count(refusals) > 0
}

# Set union, not iteration: were one of them missing, the whole would be undefined and the default refuse.
refusals := (((((access_refusals | attestation_refusals) | guardrails_refusals) | masking_refusals) | placement_refusals) | purpose_refusals) | residency_refusals

access_refusals := ((((data.demesne.access.known_dataset.deny | data.demesne.access.no_role.deny) | data.demesne.access.not_author.deny) | data.demesne.access.personal_keys.deny) | data.demesne.access.steward_reads.deny) | data.demesne.access.tenant.deny

attestation_refusals := (((data.demesne.attestation.required.deny | data.demesne.attestation.sample.deny) | data.demesne.attestation.scope.deny) | data.demesne.attestation.stale.deny) | data.demesne.attestation.tier.deny

guardrails_refusals := ((data.demesne.guardrails.known_action.deny | data.demesne.guardrails.never_masked_when_attested.deny) | data.demesne.guardrails.raw_floor.deny) | data.demesne.guardrails.well_formed.deny

masking_refusals := (data.demesne.masking.inherited.deny | data.demesne.masking.undeclared_plan.deny) | data.demesne.masking.unmaskable.deny

placement_refusals := data.demesne.placement.label.deny | data.demesne.placement.run.deny

purpose_refusals := ((data.demesne.purpose.known.deny | data.demesne.purpose.no_raw.deny) | data.demesne.purpose.not_granted.deny) | data.demesne.purpose.not_in_contract.deny

residency_refusals := ((data.demesne.residency.other_zone.deny | data.demesne.residency.principal.deny) | data.demesne.residency.unproven.deny) | data.demesne.residency.zone_closed.deny

# Lists of their own: regorus does not schedule a comprehension inside the value of a rule.
refused_for := [reason | some reason in refusals]

permitted_by := [id | some id in data.demesne.access.role.permit]

default plan := null

plan := data.demesne.masking.plan.current if data.demesne.access.view.view == "masked"

default obligations := []

obligations := ["recheck-session"] if data.demesne.access.view.view == "raw"

# METADATA
# entrypoint: true
plans := data.demesne.masking.declared.plans
