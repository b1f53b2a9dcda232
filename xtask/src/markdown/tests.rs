//! Tables in memory.

use super::{Row, rows};

const TEXT: &str = "\
# Title
| not | a table, for it has no ruler |

| Attack | Test |
|---|:--|
| replay | `a::b` |
| a \\| b | `c | d` |
text
```
| in | a fence |
|---|---|
| x | y |
```
| Other | Column |
|--|--|
| last |  |
";

#[test]
fn rows_of_all_tables() {
    let row = |line, last_column: &str, cells: [&str; 2]| Row {
        line,
        last_column: last_column.to_owned(),
        cells: cells.map(str::to_owned).to_vec(),
    };
    let expected = [
        row(6, "Test", ["replay", "`a::b`"]),
        row(7, "Test", ["a \\| b", "`c | d`"]),
        row(16, "Column", ["last", ""]),
    ];
    assert_eq!(rows(TEXT), expected);
}
