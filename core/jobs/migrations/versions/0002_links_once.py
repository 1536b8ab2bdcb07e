"""A restored photo's link is given once, and a photo's jobs are found at its erasure."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("link_given_at", sa.DateTime(timezone=True)))
    op.create_index("ix_jobs_photo", "jobs", ["photo_id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_photo", "jobs")
    op.drop_column("jobs", "link_given_at")
