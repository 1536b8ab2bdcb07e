"""`python -m sider`."""

from sider.command import main

main()
