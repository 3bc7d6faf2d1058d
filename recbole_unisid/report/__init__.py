"""Reports: tables and pages made from result files."""
