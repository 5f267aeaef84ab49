# cmake -D OUT=schema.c -D "FILES=a.sql;b.sql" -P embed.cmake: the files, one behind the other, as a C string.
set(bytes "")
foreach(file IN LISTS FILES)
  file(READ ${file} hex HEX)
  string(APPEND bytes "${hex}")
endforeach()
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
string(REPLACE "0x0a," "0x0a,\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"proxy/change/schema.h\"\n\nconst char schema_sql[] = {\n${bytes}0x00};\n")
