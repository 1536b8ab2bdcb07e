"""Restored originals are withdrawn, and what retention looks for is found by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("withdrawn_at", sa.DateTime(timezone=True)))
    op.create_index("ix_jobs_withdrawn", "jobs", ["kind", "withdrawn_at", "finished_at"])
    op.create_index("ix_photos_kept", "photos", ["erased_at", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_photos_kept", "photos")
    op.drop_index("ix_jobs_withdrawn", "jobs")
    op.drop_column("jobs", "withdrawn_at")
