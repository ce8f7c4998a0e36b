module shout

go 1.21
