package demesne.access.role_test

import data.demesne.access.role
import data.demesne.fixtures

test_permits_by_role_and_class if {
	by := role.permit with input as fixtures.analyst_reads
	by == {"access/role:analyst"}
}

test_every_role_that_permits_is_named if {
	document := object.union(fixtures.analyst_reads, {"principal": {"roles": ["analyst", "trainer"]}})
	by := role.permit with input as document
	by == {"access/role:analyst", "access/role:trainer"}
}

test_a_role_does_not_permit_outside_its_class if {
	document := object.union(fixtures.analyst_reads, {"purpose": "stewardship"})
	by := role.permit with input as document
	by == set()
}

test_an_unknown_role_permits_nothing if {
	document := object.union(fixtures.analyst_reads, {"principal": {"roles": ["king"]}})
	by := role.permit with input as document
	by == set()
}

# No role but the steward's may change what is permitted.
test_only_stewards_administer if {
	every action in ["administer", "declassify", "create-dataset", "delete-dataset"] {
		names := {name | some name, entry in data.data.access.roles; action in entry.actions}
		names == {"steward"}
	}
}

# Who asks for keys to be destroyed and who agrees are two persons; a steward never agrees.
test_only_custodians_approve_keys if {
	names := {name | some name, entry in data.data.access.roles; "approve-keys" in entry.actions}
	names == {"custodian"}
}

test_only_stewards_and_custodians_order_keys if {
	names := {name | some name, entry in data.data.access.roles; "keys" in entry.actions}
	names == {"steward", "custodian"}
}

test_only_stewards_and_custodians_revoke if {
	names := {name | some name, entry in data.data.access.roles; "revoke" in entry.actions}
	names == {"steward", "custodian"}
}

test_a_custodian_permits_keys_and_no_data if {
	custodian := object.union(fixtures.analyst_reads, {"principal": {"roles": ["custodian"]}, "purpose": "custody"})
	every action in ["keys", "approve-keys", "revoke"] {
		role.permit == {"access/role:custodian"} with input as object.union(custodian, {"request": {"action": action}})
	}
	every action in ["read", "head", "list", "write", "delete", "administer"] {
		role.permit == set() with input as object.union(custodian, {"request": {"action": action}})
	}
}

test_every_action_of_a_role_is_known if {
	every entry in data.data.access.roles {
		every action in entry.actions {
			action in data.data.access.actions
		}
	}
}
