"""The front worker's roads under one name: what the S3 dialect calls the guard (`gateway.s3.ports.Guard`)."""

from gateway.copies import Copies
from gateway.guard import Guard
from gateway.reads import Reads
from gateway.registry import Registry
from gateway.tags import ObjectTags
from gateway.uploads import Uploads
from gateway.versions import Versions
from gateway.writes import Writes


class Front:
    """Reads, writes and the registry behind one port. Holds nothing of its own but the references."""

    def __init__(self, guard: Guard, reads: Reads, writes: Writes, registry: Registry) -> None:
        uploads, versions = Uploads(writes), Versions(guard, writes.catalog, reads, registry.keep)
        copies, tags = Copies(reads, writes, uploads), ObjectTags(guard, writes.vault, reads)
        self.guard = guard
        self.streams = reads.streams
        self.open_read = reads.open_read
        self.list_objects = reads.list_objects
        self.open_write = writes.open_write
        self.delete = writes.delete
        self.create_upload = uploads.create_upload
        self.open_part = uploads.open_part
        self.complete_upload = uploads.complete_upload
        self.abort_upload = uploads.abort_upload
        self.list_parts = uploads.list_parts
        self.list_uploads = uploads.list_uploads
        self.copy_object = copies.copy_object
        self.copy_part = copies.copy_part
        self.get_tags = tags.get_tags
        self.put_tags = tags.put_tags
        self.get_versioning = versions.get_versioning
        self.set_versioning = versions.set_versioning
        self.list_versions = versions.list_versions
        self.list_datasets = registry.list_datasets
        self.head_dataset = registry.head_dataset
        self.create_dataset = registry.create_dataset
        self.delete_dataset = registry.delete_dataset
        self.dataset_location = registry.dataset_location
