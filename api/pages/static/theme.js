"use strict";
// Before the page is drawn, so that it does not flash in the other colours.
if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
