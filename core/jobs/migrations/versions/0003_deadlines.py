"""Deadlines, pauses between runs, runs lost with their worker, and what an ended job still has in the store."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TIMES = ("due_at", "expires_at", "cleared_at")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("crashes", sa.Integer, nullable=False, server_default="0"))
    for name in TIMES:
        op.add_column("jobs", sa.Column(name, sa.DateTime(timezone=True)))
    op.create_index("ix_jobs_cleared", "jobs", ["cleared_at", "finished_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_cleared", "jobs")
    for name in (*TIMES, "crashes"):
        op.drop_column("jobs", name)
