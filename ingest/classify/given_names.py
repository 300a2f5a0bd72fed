"""Common given names of German, French and English speakers, folded to ASCII lower case.

Not a dictionary of all names: a column of persons holds enough common ones to be told from a column of
towns or products. Compiled by hand from what is commonly known.
"""

_GERMAN = """
alexander andrea andreas angelika anja anke anna anne annette anton antonia astrid barbara bastian beate ben benjamin
bernd bettina bianca birgit brigitte carsten charlotte christa christian christiane christina christine christoph
claudia clara cornelia dagmar daniel daniela david dennis detlef dieter dietmar dirk dominik doris dorothea eberhard
elfriede elias elisabeth elke ella emil emilia emma erich erika ernst erwin eva fabian felix finn florian frank franz
frieda friedrich gabriele georg gerda gerhard gertrud gisela greta guenter guenther gunter hannah hannelore hans harald
hartmut heidi heike heiko heinrich heinz helga helmut henri henry herbert hermann hildegard holger horst ida ilona ilse
ines inge ingeborg ingo ingrid irene iris irmgard jakob jan jana jens joachim jochen johanna johannes jonas josef julia
julian juergen jutta kai karin karl karsten katharina kathrin katja kerstin klaus konrad kurt lara lars laura lea lena
leon leonie lina linus lisa lothar louis luca luisa lukas manfred manuela marco maria marie marina mario marion markus
marlene martin martina mathilda matthias max maximilian melanie michael michaela mia mila monika moritz nadine nele
nicole niklas nina noah norbert olaf oliver oskar otto patrick paul paula peter petra philipp rainer ralf rebecca
regina reinhard renate rene robert roland rolf rosemarie rudolf ruth sabine sandra sarah sascha sebastian sibylle
siegfried sigrid silke silvia simon simone sofia sonja sophie stefan stefanie steffen susanne sven svenja tanja theo
thomas thorsten tim tobias tom torsten udo ulrich ulrike ursula ute uwe vanessa vera verena veronika viktoria volker
walter waltraud werner wilhelm winfried wolfgang yvonne
"""
_FRENCH = """
adele adrien agathe agnes aime aimee alain albert alex alexandre alexandria alice alix alphonse amelie anais anastasie
andre andree anouk antoine antoinette arnaude arthur astrid aude audrey auguste augustin aurelie aurore benjamin
benoit bernadette bernard bertrand brigitte capucine camille caroline catherine cecile celina celine chantal charles
charlotte christelle christiane christine christophe claire claude claudine clemence colette constance corinne cyril
damien daniel danielle david denis denise diane didier dominique dorothee edith edouard eleonore elisabeth elise elodie
emile emilie emmanuel emmanuelle eric estelle etienne eugene eugenie fabien fabrice fanny felix florence franck
francois francoise frederic frederique gabriel gabrielle genevieve georges gerard gilbert gilles gregoire guillaume
guy gustave hadrien helene henri henriette honore hortense hugo hugues ines inès isaac isabelle jacques jacqueline jean
jeanne jeannine jerome joel josephine josette jules julie julien juliette kevin laetitia laure laurence laurent leon
louis louise luc luce lucas lucie lucien lucy lydie madeleine manon marc marcel marcelle margaret margaux margot
marguerite marianne marie marine marthe martin martine mathieu mathilde maurice maxime michel michele michelle monique
muriel nathalie nath nicolas nicole noel noemi noemie odette olivier olivia oceane pascal patricia patrick paul paule
pauline penelope philippe philippine pierre quentin raphael raymond raymonde remy renee rene richard robert roger
roland romain sabine sebastien simone solange sophie stephane stephanie susan susanne suzanne sylvie therese thibault
thierry thomas timothee theodore theophile tristan valentin valentine valerie vincent virginie veronique victoire
victor william xavier yves zacharie zoe
"""
_ENGLISH = """
aaron abigail adam adrian aimee alan albert alexandra alexis alice alison allison amanda amber amy andrew angela ann
annette anthony antony april arthur ashley ashleigh austin barbara barry benjamin beth bethany beverley beverly billy
bradley brandon brandy brenda brett brian brittany bruce bryan bryce caitlin cameron candice carl carly carol caroline
carolyn carrie catherine chad charlene charles charlie charlotte chelsea cheryl chloe chris christian christina
christine christopher cindy claire clare clifford clive cody colin connor corey courtney craig crystal curtis cynthia
dale damian daniel danielle danny darren dave david dawn dean deborah debra denise dennis derek diana diane dominic
donald donna dorothy douglas dylan edward elaine eleanor elizabeth ellie emily emma eric erica erin ethan eugene evan
fiona frances francesca francis frank gail gareth garry gary gavin gemma geoffrey george georgia geraldine gerald
gerard gillian glen glenn gordon grace graeme graham grant greg gregory guy hannah harriet harry hayley hazel heather
helen henry hilary holly howard hugh iain ian isabel jack jackie jacob jacqueline jade jake james jamie jane janet
janice jasmine jason jay jayne jean jeff jeffrey jenna jennifer jeremy jerry jesse jessica jill jillian jim joan joanna
joanne joe joel john johnny jon jonathan jordan jose joseph josephine josh joshua joyce judith judy julia julian julie
june justin karen karl kate katherine kathleen kathryn kathy katie katrina kayla kayleigh keith kelly kenneth kerry
kevin kieran kim kimberly kirsty kristen kristin kristina kyle lauren laura lawrence leah lee leigh leon leonard lesley
leslie lewis liam linda lindsay lindsey lisa logan lorraine louis louise lucas lucy luis luke lydia lynda lynn lynne
malcolm mandy marc marcus margaret maria marian marie marilyn marion mark martin martyn mary mathew matthew maureen
maurice max megan melanie melissa michael michele michelle miguel mitchell mohamed mohammad mohammed molly monica
morgan naomi natalie natasha nathan neil nicholas nicola nicole nigel norman olivia oliver owen pamela patricia patrick
paul paula pauline peter philip phillip rachael rachel ralph randy raymond rebecca reece ricardo richard ricky rita
robert robin roger ronald rosemary rosie ross roy russell ruth ryan sally sam samantha samuel sandra sara sarah scott
sean shane shannon sharon shaun shawn sheila shelley shirley sian simon sophie stacey stacy stanley stephanie stephen
steve steven stewart stuart susan suzanne sylvia tammy tanya tara teresa terence terry theresa thomas tiffany timothy
tina toby todd tom tony tracey tracy travis trevor tyler valerie vanessa veronica victor victoria vincent virginia
walter wanda wayne wendy wesley whitney william yvonne zachary zoe
"""

GIVEN_NAMES = frozenset(f"{_GERMAN} {_FRENCH} {_ENGLISH}".split())
