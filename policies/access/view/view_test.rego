package demesne.access.view_test

import data.demesne.access.view
import data.demesne.fixtures

asked(document) := chosen if {
	chosen := view.view with input as document
}

test_masked if asked(fixtures.analyst_reads) == "masked"

test_raw if asked(fixtures.trainer_reads) == "raw"

test_open if asked(fixtures.analyst_reads_open) == "open"

test_open_for_an_attested_session_too if {
	asked(object.union(fixtures.trainer_reads, {"dataset": {"label": "none"}, "object": {"label": "none"}})) == "open"
}

test_writer if asked(fixtures.steward_heads) == "writer"

test_none_for_a_write if asked(fixtures.trainer_writes) == "none"

# Out of scope a run may still look at what it wrote, to verify its upload.
test_writer_for_an_own_version_out_of_scope if {
	asked(object.union(fixtures.trainer_writes, {
		"request": {"action": "head"},
		"object": {"label": "personal", "written_by": "t1"},
	})) == "writer"
}

test_writer_for_a_list_out_of_scope if {
	asked(object.union(fixtures.trainer_writes, {"request": {"action": "list"}})) == "writer"
}

test_never_masked_when_attested if {
	every purpose in ["analytics", "marketing", "claims-risk-model", "unknown"] {
		asked(object.union(fixtures.trainer_reads, {"purpose": purpose})) == "raw"
	}
}

# One label alone does not open: a personal object in an open dataset, an open one nobody declassified.
test_personal_object_in_an_open_dataset if {
	asked(object.union(fixtures.analyst_reads_open, {"object": {"label": "personal"}})) == "masked"
}

test_open_object_in_a_personal_dataset if {
	asked(object.union(fixtures.analyst_reads, {"object": {"label": "none"}})) == "masked"
}
