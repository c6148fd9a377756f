module go_template

go 1.18
