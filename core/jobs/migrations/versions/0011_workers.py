"""Workers tell that they live, and jobs are found by when they ended."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("version", sa.String(20), nullable=False),
        sa.Column("device", sa.String(80), nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("device_bytes", sa.BigInteger()),
        sa.Column("job_id", sa.String(40)),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_jobs_finished", "jobs", ["finished_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_finished", "jobs")
    op.drop_table("workers")
