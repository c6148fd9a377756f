// Renders a Modelfile's TEMPLATE with Go's own text/template, for test_release_modelfile.py.
//
//	go run . Modelfile prompts.json > texts.json
//
// As Ollama does it (template/template.go and ChatHandler in server/routes.go, read in August 2026):
// the option missingkey=zero; SYSTEM goes before a conversation that has no system message;
// neighbours of one role are joined by an empty line.
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"os"
	"strings"
	"text/template"
)

type message struct {
	Role    string
	Content string
}

// quoted is what stands between the triple quotes after a command of a Modelfile.
func quoted(file, command string) string {
	_, rest, found := strings.Cut("\n"+file, "\n"+command+` """`)
	if !found {
		return ""
	}
	text, _, _ := strings.Cut(rest, `"""`)
	return text
}

func main() {
	file, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	content, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	var prompts [][]message
	if err := json.Unmarshal(content, &prompts); err != nil {
		log.Fatal(err)
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(quoted(string(file), "TEMPLATE")))
	system := quoted(string(file), "SYSTEM")
	texts := []string{}
	for _, asked := range prompts {
		if system != "" && asked[0].Role != "system" {
			asked = append([]message{{"system", system}}, asked...)
		}
		var joined []message
		for _, one := range asked {
			if last := len(joined) - 1; last >= 0 && joined[last].Role == one.Role {
				joined[last].Content += "\n\n" + one.Content
			} else {
				joined = append(joined, one)
			}
		}
		var written bytes.Buffer
		data := map[string]any{"Messages": joined, "Response": ""}
		if err := parsed.Execute(&written, data); err != nil {
			log.Fatal(err)
		}
		texts = append(texts, written.String())
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(texts); err != nil {
		log.Fatal(err)
	}
}
